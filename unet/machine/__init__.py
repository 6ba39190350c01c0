"""What the machine has: disk, devices, hosts, precision, terminal."""
