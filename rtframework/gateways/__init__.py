"""Other protocols to the same rooms: each is attached to an application, beside Socket.IO or alone."""
