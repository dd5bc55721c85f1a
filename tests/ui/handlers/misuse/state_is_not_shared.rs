use rustok_events::EventRuntime;

fn build(db: sea_orm::DatabaseConnection) {
    let _ = EventRuntime::builder(db).state(std::rc::Rc::new(1));
}

fn main() {}
