//! What is legal in a policy and likely wrong on this very host.

use crate::docker::DockerResolver;
use crate::policy::{Diagnostic, Place, Policy, Resolvers, Severity};
use crate::surroundings::Surroundings;

/// Warnings that only the host can tell: patterns that meet a bridge of the
/// local network, uplinks that are not there, an uplink that is a bridge.
#[must_use]
pub fn host_warnings(policy: &Policy, surroundings: &Surroundings) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let mut warn = |path: String, place: Place, message: String, help: &str| {
        let mut warning = policy.diagnostic_at(place, Severity::Warning, message);
        warning.path = path;
        warning.help = Some(help.to_owned());
        warnings.push(warning);
    };
    let devices = &surroundings.devices;
    for (index, bridge) in policy.bridge.iter().enumerate() {
        for device in devices.iter().filter(|d| bridge.name.matches(&d.name)) {
            let port = surroundings
                .ports_of(|d| d.index == device.index)
                .find(|p| p.kind.is_none());
            let reason = match port {
                Some(port) => format!("the hardware interface `{}` is a port of it", port.name),
                None if device.default_route => "the default route leads over it".to_owned(),
                None => continue,
            };
            warn(
                format!("bridge[{index}].name"),
                bridge.place,
                format!(
                    "`{}` also means the bridge `{}` of the local network: {reason}",
                    bridge.name, device.name
                ),
                "everybody on that network would be let in as a container; name the containers' bridges more exactly",
            );
        }
    }
    if let Some(uplinks) = &policy.host.uplinks {
        for name in uplinks
            .iter()
            .filter(|name| !devices.iter().any(|d| &d.name == *name))
        {
            warn(
                "host.uplinks".to_owned(),
                Place::default(),
                format!("the uplink `{name}` does not exist"),
                "until it does, `strict` cannot watch it; apply the policy again when it is there",
            );
        }
    } else {
        let exempt = |name: &str| policy.bridge.iter().any(|bridge| bridge.name.matches(name));
        for device in devices
            .iter()
            .filter(|d| d.is_bridge() && d.default_route && !exempt(&d.name))
        {
            warn(
                "host.uplinks".to_owned(),
                Place::default(),
                format!(
                    "the default route leads over the bridge `{}`, which counts as no uplink",
                    device.name
                ),
                "name it in `uplinks`, so that DHCP and router advertisements pass there",
            );
        }
    }
    if policy.host.resolvers == Resolvers::System && surroundings.resolvers.is_empty() {
        warn(
            "host.resolvers".to_owned(),
            Place::default(),
            "/etc/resolv.conf names no server of the network".to_owned(),
            "a local stub asks servers of its own: name those in `resolvers`",
        );
    }
    if let DockerResolver::Open(reason) = &surroundings.docker_resolver {
        warn(
            "host.resolvers".to_owned(),
            Place::default(),
            format!(
                "containers can ask the network for names through Docker and the local resolver: {reason}"
            ),
            "name servers of the network in `dns` of /etc/docker/daemon.json: Docker then asks from the containers' own \
             network namespaces, where the policy decides",
        );
    }
    for (index, forwarder) in policy.forward.iter().enumerate() {
        let Some(listen) = forwarder.listen else {
            continue;
        };
        if !devices
            .iter()
            .flat_map(|d| &d.addresses)
            .any(|net| net.addr() == listen.ip())
        {
            warn(
                format!("forward[{index}].listen"),
                forwarder.place,
                format!("`{}` is no address of this host", listen.ip()),
                "containers can dial the forwarder once a bridge has that address",
            );
        }
    }
    warnings
}
