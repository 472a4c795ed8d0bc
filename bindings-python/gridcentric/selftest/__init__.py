"""gc selftest: checks that clones differ where they should. It makes a family on the hypervisor in question and compares what
its domains report.

    probe.py, probe.js   the programs that clone themselves and report; they know nothing of this package
    families.py          runs one of them as a family
    rows.py              what is compared, and what is right
"""
