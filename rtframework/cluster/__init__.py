"""Several servers as one: messages, byte for byte as Node's adapters write them, and decisions. Without I/O."""
