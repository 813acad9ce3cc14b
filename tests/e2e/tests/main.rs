//! The server on a real cluster: installed by its chart, called by a real API server, with Pods that really run.

mod advice;
mod certificates;
mod chart;
mod copies;
mod entries;
mod files;
mod fixtures;
mod helper;
mod interpose;
mod objects;
mod outage;
mod rbac;
mod rollout;
mod security;
mod ways;
mod workloads;
