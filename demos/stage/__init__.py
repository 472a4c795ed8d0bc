"""What the demos share: a page with live state (page), programs that end with the demo (programs), and options, signals and
exit codes (performance). It knows no demo and nothing about cloning."""
