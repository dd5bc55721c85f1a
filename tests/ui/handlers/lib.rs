//! What of handlers, publishing and building does not compile, and what is said of it.
