//! The commands of `store`. The comments are the help.

use std::path::PathBuf;

use clap::Subcommand;

use crate::storage::command::StoreCommand;

#[derive(Debug, Subcommand)]
pub(super) enum StoreArguments {
    /// Say what is damaged, and where; exit with 0 if nothing is, with 1 if something is
    Check {
        /// The data directory
        directory: PathBuf,
    },
    /// Print all records, each as a line of JSON
    Dump {
        /// The data directory
        directory: PathBuf,
    },
    /// Say how much there is of what
    Stats {
        /// The data directory
        directory: PathBuf,
    },
    /// Copy all that can be read to a new directory, and say what cannot; exit with 0 if all can, with 1 if not
    Repair {
        /// The data directory; it is not changed
        directory: PathBuf,
        /// The new directory, which must not be there or be empty
        #[arg(long, value_name = "DIRECTORY")]
        output: PathBuf,
    },
}

impl From<StoreArguments> for StoreCommand {
    fn from(arguments: StoreArguments) -> Self {
        match arguments {
            StoreArguments::Check { directory } => Self::Check(directory),
            StoreArguments::Dump { directory } => Self::Dump(directory),
            StoreArguments::Stats { directory } => Self::Stats(directory),
            StoreArguments::Repair { directory, output } => Self::Repair { directory, output },
        }
    }
}
