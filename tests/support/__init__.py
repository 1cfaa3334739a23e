"""What the tests stand on: real clients, real servers, a hostile network."""
