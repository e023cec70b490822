//! The control socket between the daemon and the command line.
