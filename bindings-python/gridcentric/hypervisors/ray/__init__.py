"""The hypervisor `ray`: VMs on the computers of a Ray cluster (docs/cluster.md). Ray places, watches and transfers; the VMs
are the qemu hypervisor's, whose code runs in one actor on each computer.

Where to start reading:

    driver        the driver contract: what tickets are asked for and what has been lost; the rest is the qemu hypervisor's
    cluster       the VMs of the host, wherever they run: the sequence of a cloning across computers
    member        one computer, as the host sees it
    computer      one computer, as it is: the actor
    part          the VMs of one computer
    packing       what clones start from, as an object of Ray's
    tickets       tickets as placement groups; room is their arithmetic
    link, control TCP connections between computers that know the same secret, and messages over one
    trunk         the VMs' networks of the computers, joined
"""
