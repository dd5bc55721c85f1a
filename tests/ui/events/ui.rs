//! What of an event's declaration does not compile, and what is said of it.

#[path = "../messages.rs"]
mod messages;

#[test]
fn a_wrong_declaration_says_what_to_write() {
    messages::compare(&["event/*.rs", "key/*.rs"]);
}
