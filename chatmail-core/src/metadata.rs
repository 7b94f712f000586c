//! IMAP METADATA: device tokens of a mailbox and values of the server (RFC 5464).
