"""Parts of Python scripts that clone themselves: text that a test puts into its program, which imports subprocess."""

CLONE = """
ticket = subprocess.check_output(["gc", "rt", "2", "2", "1", "5000"], text=True).split()[1]
vmid = subprocess.run(["gc", "clone", ticket], stdout=subprocess.PIPE, text=True).stdout.strip()
"""
# The family ends with its master.
FINALLY = """
if vmid == "0":
    subprocess.run(["gc", "wait", ticket], stdout=subprocess.DEVNULL, check=True)
"""
