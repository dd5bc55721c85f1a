use rustok_events::prelude::*;

struct Mine;

impl OutboxTransaction for Mine {}

fn main() {}
