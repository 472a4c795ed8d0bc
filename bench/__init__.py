"""The figures of the design, measured: `make bench`, or `python -m bench [ROW ...]`.

Start reading at rows.py (what is measured, one function a row) and report.py (the table, the JSON, the plots).
A figure is always set beside something that ran in the same run on the same machine: machines are shared and noisy,
ratios are not.
"""
