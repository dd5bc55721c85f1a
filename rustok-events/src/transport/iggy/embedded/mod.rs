//! A broker in the process: it speaks Iggy's binary protocol on loopback, so that the genuine client is the only
//! code path for both modes.
