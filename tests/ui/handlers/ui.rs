//! What of handlers, publishing and building does not compile, and what is said of it.

#[path = "../messages.rs"]
mod messages;

#[test]
fn misuse_says_what_to_do() {
    messages::compare(&["handler/*.rs", "misuse/*.rs"]);
}
