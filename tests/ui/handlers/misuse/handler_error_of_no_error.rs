use rustok_events::prelude::*;

fn parse() -> Result<(), u32> {
    Err(7)
}

fn check() -> HandlerResult {
    parse()?;
    Ok(())
}

fn main() {}
