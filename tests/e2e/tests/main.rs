//! The server on a real cluster: installed by its chart, called by a real API server, with Pods that really run.

mod certificates;
mod fixtures;
mod rollout;
mod ways;
