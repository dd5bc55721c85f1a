//! The shop's own tables.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Schema, entity::prelude::*};

/// Orders, as they were read.
pub mod order {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "shop_order")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub order_id: Uuid,
        pub customer_id: String,
        pub total_cents: i64,
        pub currency: String,
        pub placed_at: DateTimeUtc,
        /// The file and the line it came from: a restart goes on after it.
        pub source: String,
        pub line: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What the search finds.
pub mod search {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "shop_search")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub order_id: Uuid,
        pub words: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A running total for each customer.
pub mod total {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "shop_customer_total")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub customer_id: String,
        pub orders: i64,
        pub total_cents: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What the handlers did, one row a time they did it. Nothing here is unique, so nothing hides a second time.
pub mod ledger {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "shop_ledger")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub handler: String,
        pub event_id: Uuid,
        pub customer_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Creates the tables that are not there yet.
pub async fn create(db: &DatabaseConnection) -> Result<(), DbErr> {
    create_table(db, order::Entity).await?;
    create_table(db, search::Entity).await?;
    create_table(db, total::Entity).await?;
    create_table(db, ledger::Entity).await
}

async fn create_table<E: EntityTrait>(db: &DatabaseConnection, entity: E) -> Result<(), DbErr> {
    let schema = Schema::new(db.get_database_backend());
    db.execute(schema.create_table_from_entity(entity).if_not_exists()).await?;
    Ok(())
}
