"""The figures of the design, measured: `make bench`, or `python -m bench [ROW ...]`.

Start reading at rows.py (what is measured, one function per row) and report.py (the table, the JSON, the plots).
Every figure is compared with a baseline measured in the same run on the same computer: computers are shared and noisy,
ratios are not.
"""
