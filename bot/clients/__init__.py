"""What the clients of all platforms share: their protocol, paces and leases."""
