"""What the machine has: disk, devices, cards, hosts, precision, terminal."""
