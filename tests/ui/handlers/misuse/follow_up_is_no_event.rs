use rustok_events::prelude::*;

async fn follow(ctx: HandlerContext<'_, ()>) {
    ctx.publish(7_u32).await.unwrap();
}

fn main() {}
