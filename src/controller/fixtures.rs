//! Objects for the tests of this room: a case names only what differs from an ordinary object.
