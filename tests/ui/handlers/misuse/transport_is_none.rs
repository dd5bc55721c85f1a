use rustok_events::EventRuntime;

fn build(db: sea_orm::DatabaseConnection, transport: String) {
    let _ = EventRuntime::builder(db)
        .transport(transport);
}

fn main() {}
