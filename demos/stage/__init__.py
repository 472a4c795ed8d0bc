"""What the demos share: a page with live state (page; django_site for demos that are Django sites), programs that end with the
demo (programs; vms for those in VMs), options, signals and exit codes (performance). It knows no demo, and clones nothing."""
