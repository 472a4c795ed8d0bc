"""Where gridcentric runs, as a table of cells to test. Start reading at cells.py: it is the table.

cells.py lists the cells, runtimes.py provides the Nodes, the Pythons and the package under test, places.py runs a command on a
system, playing.py tests a cell, record.py keeps the results, document.py writes the document.
"""
