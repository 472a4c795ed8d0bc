"""Where gridcentric runs, as a table of cells to test. Start reading at cells.py: it is the table.

cells.py says what there is, runtimes.py brings the Nodes and Pythons and the package to be tried, places.py runs a command on
a system, playing.py plays a cell, record.py keeps what was seen, document.py writes it down.
"""
