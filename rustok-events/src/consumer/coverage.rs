//! Whether a group has forgotten an event: of the events that are known of a topic, each is handled or ignored by
//! name.

use super::BuildError;
use crate::{
    Catalog, CatalogError,
    catalog::{EventData, EventSet},
    handler::HandlerSpec,
};

/// What is known besides the handlers' own events, and what groups leave out on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage {
    known: Vec<EventData>,
    ignored: Vec<(&'static str, &'static str)>,
}

impl Coverage {
    /// Makes events known.
    pub(crate) fn known<E: EventSet>(&mut self) {
        E::collect(&mut self.known);
    }

    /// Leaves events out of a group on purpose.
    pub(crate) fn ignore(&mut self, group: &'static str, events: &[&'static str]) {
        self.ignored.extend(events.iter().map(|event| (group, *event)));
    }

    /// Everything that is known, by list or by handler.
    pub(crate) fn catalog(&self, handlers: &[HandlerSpec]) -> Result<Catalog, CatalogError> {
        let handled = handlers.iter().map(|handler| handler.event);
        Catalog::from_data(self.known.iter().copied().chain(handled))
    }

    /// Checks groups that handle several events of a topic, once events were listed.
    pub(crate) fn check(
        &self,
        handlers: &[HandlerSpec],
        catalog: &Catalog,
    ) -> Result<(), BuildError> {
        self.check_ignored(handlers, catalog)?;
        if self.known.is_empty() {
            return Ok(());
        }
        for (index, handler) in handlers.iter().enumerate() {
            let place = (handler.group, handler.stream, handler.topic);
            let here = |other: &&HandlerSpec| (other.group, other.stream, other.topic) == place;
            if handlers[..index].iter().any(|earlier| here(&earlier)) {
                continue;
            }
            let handled: Vec<&str> = handlers
                .iter()
                .filter(here)
                .flat_map(|handler| handler.descriptors)
                .map(|descriptor| descriptor.name)
                .collect();
            if handled.iter().all(|name| *name == handled[0]) {
                // One event is a choice, not a list with a hole in it.
                continue;
            }
            let forgotten: Vec<&'static str> = catalog
                .events()
                .filter(|event| (event.stream, event.topic) == (handler.stream, handler.topic))
                .map(|event| event.name)
                .filter(|name| !handled.contains(name))
                .filter(|name| !self.ignored.contains(&(handler.group, name)))
                .collect();
            if !forgotten.is_empty() {
                return Err(BuildError::Unhandled { group: handler.group, events: forgotten });
            }
        }
        Ok(())
    }

    /// What a group ignores is there to be ignored.
    fn check_ignored(&self, handlers: &[HandlerSpec], catalog: &Catalog) -> Result<(), BuildError> {
        for &(group, event) in &self.ignored {
            let known = catalog.events().any(|known| {
                known.name == event
                    && handlers.iter().any(|handler| {
                        (handler.group, handler.stream, handler.topic)
                            == (group, known.stream, known.topic)
                    })
            });
            if !known {
                return Err(BuildError::NothingToIgnore { group, event });
            }
        }
        Ok(())
    }
}
