"""The machine: disk, devices, cards, hosts, precision, terminal."""
