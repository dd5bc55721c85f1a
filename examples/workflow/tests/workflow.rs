//! The chain from end to end, and one step alone.

use rustok_events::testing::{HandlerTest, TestApp, TestError};
use uuid::Uuid;
use workflow::{OrderStep, next_step};

const TENANT: Uuid = Uuid::from_u128(1);
const ORDER: Uuid = Uuid::from_u128(7);

#[tokio::test]
async fn one_order_sets_off_a_chain_with_one_correlation() -> Result<(), TestError> {
    let app = TestApp::builder().handler(next_step).start().await?;
    let first = app.publish(TENANT, OrderStep::Placed { order_id: ORDER, cents: 1290 }).await?;
    app.settle().await?;
    let steps = app.published::<OrderStep>().await?;
    let names: Vec<&str> = steps.iter().map(|step| step.name()).collect();
    assert_eq!(names, ["order.placed", "order.paid", "order.sent"]);
    for (before, after) in steps.iter().zip(&steps[1..]) {
        assert_eq!(after.correlation_id(), first.as_uuid());
        assert_eq!(after.causation_id(), Some(before.id().into()));
    }
    Ok(())
}

#[tokio::test]
async fn an_order_without_a_price_goes_no_further() -> Result<(), TestError> {
    let test = HandlerTest::builder().handler(next_step).start().await?;
    let then = test.when(TENANT, OrderStep::Placed { order_id: ORDER, cents: 0 }).await?;
    assert!(then.failure().is_some_and(rustok_events::handler::Failure::is_terminal));
    assert!(then.published::<OrderStep>().await?.is_empty());
    Ok(())
}
