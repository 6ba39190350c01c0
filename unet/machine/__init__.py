"""What the machine has: disk, devices, cards, memory, hosts, precision, terminal."""
