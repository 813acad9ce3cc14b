//! Schemas, for the custom resources, of what is not typed here: parts of a Pod, in which any string may be a template.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Anything at all.
pub(crate) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"nullable": true, "x-kubernetes-preserve-unknown-fields": true})
}

/// A mapping of anything.
pub(crate) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list of parts; one may be a template as a whole.
pub(crate) fn objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": true}})
}

/// A mapping of strings.
pub(crate) fn strings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": {"type": "string"}})
}
