//! The JSON Schema of a policy, out of the types of the model.
//!
//! It tells an editor what fits where. A schema cannot tell all that the reader
//! can (whether a range goes up, whether families fit), so it refuses nothing
//! that the reader takes, and takes some of what the reader refuses.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::model::{
    Address, BridgeName, ContainerSource, Dhcp, HostPort, Openings, PortRange, Resolvers, User,
};

/// The JSON Schema (draft 2020-12) of a policy's JSON form, which is also that
/// of its TOML form.
#[must_use]
pub fn schema() -> Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Openings>()
        .to_value()
}

/// One value, or a list of some: how a policy writes most of its lists.
pub(super) struct OneOrMore<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMore{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// Far addresses: one, a list, or a list in a file.
pub(super) struct Far;

/// One address, as `resolvers` has them.
struct Ip;

/// The name of an interface.
pub(super) struct InterfaceName;

/// Interfaces, at least one.
pub(super) struct Uplinks;

/// An address and a port.
pub(super) struct Listen;

/// Text on one line.
pub(super) struct Comment;

/// Types whose schema is written by hand, because they are read from text.
macro_rules! schemas {
    ($($type:ty, $name:literal, |$generator:ident| $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

schemas! {
    Address, "Address", |_generator| json_schema!({
        "description": "An address, a CIDR, a range `a-b` or a host name; IPv4 or IPv6.",
        "type": "string",
        "pattern": "^[0-9A-Za-z.:/-]+$",
        "examples": ["192.0.2.7", "2001:db8::/32", "192.0.2.10-192.0.2.20", "www.example.com"],
    });
    Far, "Far", |generator| {
        let one = generator.subschema_for::<Address>();
        json_schema!({
            "description": "Where to or from: an address, CIDR, range or host name, a list of these, or a file with one address, CIDR or range a line.",
            "anyOf": [
                one,
                { "type": "array", "items": one, "minItems": 1 },
                {
                    "type": "object",
                    "properties": { "file": {
                        "description": "The path of the file, relative to the policy.",
                        "type": "string",
                        "minLength": 1,
                        "examples": ["providers.txt"],
                    } },
                    "required": ["file"],
                    "additionalProperties": false,
                },
            ],
        })
    };
    ContainerSource, "ContainerSource", |_generator| json_schema!({
        "description": "A bridge or a pattern such as `br-*`, or an address or CIDR behind one.",
        "type": "string",
        "minLength": 1,
        "examples": ["172.17.0.2", "172.18.0.0/16", "docker0", "br-*"],
    });
    BridgeName, "BridgeName", |_generator| json_schema!({
        "description": "The name of a bridge, or the letters that the names of several begin with and a `*`.",
        "type": "string",
        "minLength": 1,
        "pattern": "^[^*/:\"\\\\]+\\*?$",
        "examples": ["docker0", "br-*"],
    });
    PortRange, "PortRange", |_generator| json_schema!({
        "description": "A port, or a range such as \"8000-8099\".",
        "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": "^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$" },
        ],
    });
    HostPort, "HostPort", |_generator| json_schema!({
        "description": "A protocol and a port or range of the host.",
        "type": "string",
        "pattern": "^(tcp|udp)/[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$",
        "examples": ["tcp/8888", "udp/5000-5009"],
    });
    User, "User", |_generator| json_schema!({
        "description": "A user's name or uid.",
        "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 4_294_967_294_u32 },
            { "type": "string", "pattern": "^[^:]*[^0-9:][^:]*$" },
        ],
    });
    Resolvers, "Resolvers", |generator| json_schema!({
        "description": "Name servers, or \"system\" for those of /etc/resolv.conf when the policy is applied.",
        "anyOf": [
            { "const": "system" },
            { "type": "array", "items": generator.subschema_for::<Ip>(), "minItems": 1 },
        ],
    });
    Dhcp, "Dhcp", |generator| json_schema!({
        "description": "Whether the DHCP client works; a list of servers adds unicast renewals with these.",
        "anyOf": [
            { "type": "boolean" },
            { "type": "array", "items": generator.subschema_for::<Ip>(), "minItems": 1 },
        ],
        "default": false,
    });
    Ip, "Ip", |_generator| json_schema!({
        "description": "An IPv4 or IPv6 address.",
        "type": "string",
        "pattern": "^[0-9A-Fa-f.:]+$",
    });
    InterfaceName, "InterfaceName", |_generator| json_schema!({
        "description": "The name of a network interface.",
        "type": "string",
        "minLength": 1,
        "maxLength": super::model::INTERFACE_NAME_MAX,
        "pattern": "^[^*/:\"\\\\]+$",
    });
    Uplinks, "Uplinks", |generator| json_schema!({
        "type": "array",
        "items": generator.subschema_for::<InterfaceName>(),
        "minItems": 1,
    });
    Listen, "Listen", |_generator| json_schema!({
        "type": "string",
        "pattern": "^([0-9.]+|\\[[0-9A-Fa-f.:]+\\]):[0-9]{1,5}$",
        "examples": ["172.17.0.1:15432", "[2001:db8::1]:15432"],
    });
    Comment, "Comment", |_generator| json_schema!({ "type": "string" });
}

/// The schema of the number 1.
pub(super) fn only_version(schema: &mut Schema) {
    *schema = json_schema!({ "description": "The version of the policy's form.", "const": super::model::VERSION });
}

/// Ping has no port and no bridge; the other protocols need the port.
pub(super) fn port_unless_icmp(schema: &mut Schema) {
    schema.insert(
        "if".to_owned(),
        json!({ "properties": { "proto": { "const": "icmp" } }, "required": ["proto"] }),
    );
    schema.insert(
        "then".to_owned(),
        json!({ "properties": { "port": false, "via": false } }),
    );
    schema.insert("else".to_owned(), json!({ "required": ["port"] }));
}

/// A small policy of every kind of opening.
pub(super) fn example(schema: &mut Schema) {
    let example = json!({
        "version": 1,
        "host": { "resolvers": ["192.0.2.53"], "dhcp": true, "uplinks": ["eth0"], "strict": true },
        "allow": [{ "to": "192.0.2.7", "port": 443, "user": "connector", "comment": "the portal" }],
        "admit": [
            { "from": "192.0.2.10", "port": 22 },
            { "from": "192.0.2.0/24", "proto": "icmp" },
        ],
        "bridge": [{ "name": "docker0", "ports": ["tcp/8888"], "isolate": true }],
        "forward": [{ "from": "172.17.0.2", "to": "198.51.100.7", "port": 5432, "listen": "172.17.0.1:15432" }],
    });
    schema.insert("examples".to_owned(), json!([example]));
}
