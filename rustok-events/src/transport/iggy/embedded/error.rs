//! Why the embedded broker does not start.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::BoxError;

/// Why the embedded broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Another broker, of this process or another, has the folder.
    #[error(
        "the broker's folder `{}` is in use by another process or transport: stop that one, or give this one its \
         own `data_dir`",
        .0.display()
    )]
    DataDirInUse(PathBuf),
    /// The folder cannot be made, opened or locked.
    #[error("the broker's folder `{}` cannot be used: {source}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// What lies in the folder cannot be read as a broker's data.
    #[error("the broker's data in `{}` cannot be opened: {source}", path.display())]
    Storage {
        /// The folder.
        path: PathBuf,
        /// What the storage engine said.
        source: BoxError,
    },
    /// The address cannot be listened on.
    #[error("the broker cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The configuration cannot work.
    #[error("the broker's configuration: {0}")]
    Config(String),
}

impl BrokerError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DataDirInUse(_) => "data_dir_in_use",
            Self::DataDir { .. } => "data_dir",
            Self::Storage { .. } => "storage",
            Self::Bind { .. } => "bind",
            Self::Config(_) => "config",
        }
    }
}
