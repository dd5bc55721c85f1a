use rustok_events::prelude::*;

fn check() -> HandlerResult {
    Err(7_u32).terminal()
}

fn main() {}
