//! Which dead letters are meant.

use sea_orm::Value;
use uuid::Uuid;

use crate::transport::TopicName;

/// Which dead letters are meant: all, narrowed by each condition that is set.
#[derive(Debug, Clone)]
#[must_use]
pub struct Filter {
    conditions: Vec<(&'static str, Value)>,
    pub(super) limit: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self { conditions: Vec::new(), limit: 1000 }
    }
}

impl Filter {
    /// All dead letters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those of a consumer group.
    pub fn group(self, group: impl Into<String>) -> Self {
        self.and("group_name = ?", group.into())
    }

    /// Only those of a handler, by its durable name.
    pub fn handler(self, handler: impl Into<String>) -> Self {
        self.and("handler = ?", handler.into())
    }

    /// Only those of a topic.
    pub fn topic(self, topic: &TopicName) -> Self {
        self.and("stream = ?", topic.stream()).and("topic = ?", topic.topic())
    }

    /// Only those of a tenant.
    pub fn tenant(self, tenant_id: Uuid) -> Self {
        self.and("tenant_id = ?", tenant_id)
    }

    /// Only those with a code, such as `handler_panic`.
    pub fn code(self, code: impl Into<String>) -> Self {
        self.and("code = ?", code.into())
    }

    /// Only that of an event.
    pub fn event(self, event_id: impl Into<crate::EventId>) -> Self {
        self.and("event_id = ?", event_id.into().as_uuid())
    }

    /// Not more than this many, 1,000 by default.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    pub(super) fn id(self, id: i64) -> Self {
        self.and("id = ?", id)
    }

    pub(super) fn after(self, id: i64) -> Self {
        self.and("id > ?", id)
    }

    fn and(mut self, condition: &'static str, value: impl Into<Value>) -> Self {
        self.conditions.push((condition, value.into()));
        self
    }

    /// As SQL that follows another condition.
    pub(super) fn condition(&self) -> (String, Vec<Value>) {
        let mut sql = String::new();
        for (condition, _) in &self.conditions {
            sql.push_str(" AND ");
            sql.push_str(condition);
        }
        (sql, self.conditions.iter().map(|(_, value)| value.clone()).collect())
    }
}
