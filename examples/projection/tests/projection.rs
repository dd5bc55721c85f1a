//! The table says what the events said last.

use projection::{ProductNamed, create_table, index_products};
use rustok_events::testing::{TestApp, TestError};
use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(1);

#[tokio::test]
async fn the_last_name_is_the_one_that_is_found() -> Result<(), TestError> {
    let app = TestApp::builder().handler(index_products).prepare(create_table).start().await?;
    let events = (0..300).map(|number| ProductNamed {
        product_id: number % 10,
        name: format!("Name {}", number / 10),
    });
    app.publish_all(TENANT, events).await?;
    app.settle().await?;
    let backend = app.db().get_database_backend();
    let sql = "SELECT COUNT(*) AS n FROM search WHERE words = 'name 29'";
    let row = app.db().query_one_raw(Statement::from_string(backend, sql)).await?.unwrap();
    assert_eq!(row.try_get::<i64>("", "n")?, 10);
    assert_eq!(app.handled("search", "index_products").await?, 300);
    Ok(())
}
