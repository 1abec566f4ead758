//! The command line, read into the settings of each module.
