"""gc selftest: are clones as much of their own as they should be? A family is made on the hypervisor in question, and what its
domains say of themselves is compared.

    probe.py, probe.js   the programs that clone themselves and report; nothing of this package is known to them
    families.py          runs one of them as a family
    rows.py              what is compared, and what is right
"""
