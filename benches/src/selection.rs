//! What is asked of every group of figures: which, how thoroughly, and printed how.

use crate::{database::Server, figure::Figure};

#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Three short pairs a figure: to see that it runs.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only the cells whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// Which databases.
#[derive(Debug, clap::Args)]
pub(crate) struct Databases {
    /// Only the databases whose name contains this, such as `postgresql`.
    #[arg(long, value_name = "NAME")]
    database: Vec<String>,
}

impl Selection {
    /// How many pairs a short cell takes, behind one that only warms up.
    pub(crate) fn pairs(&self) -> usize {
        if self.quick { 3 } else { 15 }
    }

    /// Whether a cell is asked for.
    pub(crate) fn wants(&self, cell: &str) -> bool {
        is_named(cell, &self.only)
    }

    /// Prints a figure as soon as it is there.
    pub(crate) fn print(&self, figure: &Figure) {
        figure.print(self.json);
    }

    /// Prints the head of a table.
    pub(crate) fn header(&self, place: &str, ours: &str, floor: &str) {
        if !self.json {
            println!("\n{}", Figure::header(place, ours, floor));
        }
    }
}

impl Databases {
    /// Whether a database is asked for, and there.
    pub(crate) fn want(&self, server: Server) -> bool {
        is_named(server.name(), &self.database) && server.is_available()
    }
}

/// Whether a name is among those asked for: it contains one of them, or none was.
pub(crate) fn is_named(name: &str, only: &[String]) -> bool {
    let name = name.to_lowercase();
    only.is_empty() || only.iter().any(|only| name.contains(&only.to_lowercase()))
}
