//! Read the report, mend the cause, retry; or give up with a reason.

use dead_letters::{InvoiceWritten, book, create_table, open_account, report};
use rustok_events::{
    dead_letter::Filter,
    testing::{TestApp, TestError},
};
use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(1);

fn invoice(account: &str, cents: i64) -> InvoiceWritten {
    InvoiceWritten { account: account.to_owned(), cents }
}

async fn cents(app: &TestApp, account: &str) -> i64 {
    let backend = app.db().get_database_backend();
    let sql = "SELECT cents FROM accounts WHERE name = ?";
    let statement = Statement::from_sql_and_values(backend, sql, [account.into()]);
    app.db().query_one_raw(statement).await.unwrap().unwrap().try_get("", "cents").unwrap()
}

async fn broken() -> Result<TestApp, TestError> {
    let app = TestApp::builder().handler(book).prepare(create_table).start().await?;
    open_account(app.db(), "acme").await?;
    app.publish_all(TENANT, [invoice("initech", 100), invoice("acme", 30), invoice("initech", 5)])
        .await?;
    app.settle().await?;
    assert_eq!(
        report(&app.letters()).await?,
        "book: there is no account `initech`; 1 wait behind it\n"
    );
    assert_eq!(cents(&app, "acme").await, 30, "other accounts go on");
    Ok(app)
}

#[tokio::test]
async fn a_mended_cause_and_a_retry_book_everything_in_order() -> Result<(), TestError> {
    let app = broken().await?;
    open_account(app.db(), "initech").await?;
    assert_eq!(app.letters().retry_all(&Filter::new().group("books")).await?, 1);
    app.settle().await?;
    assert_eq!(cents(&app, "initech").await, 105);
    assert_eq!(report(&app.letters()).await?, "");
    Ok(())
}

#[tokio::test]
async fn a_discarded_invoice_lets_the_next_one_through() -> Result<(), TestError> {
    let app = broken().await?;
    let id = app.dead_letters().await?[0].id;
    open_account(app.db(), "initech").await?;
    app.letters().discard(id, "written for the wrong company").await?;
    app.settle().await?;
    assert_eq!(cents(&app, "initech").await, 5);
    Ok(())
}
