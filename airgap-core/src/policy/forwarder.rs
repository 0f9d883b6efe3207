//! Reads a service forwarder, whose two sides have to fit each other.

use std::net::SocketAddr;

use super::address;
use super::fault::Fault;
use super::model::{Address, ContainerSource, Place, PortRange, Proto, ServiceForwarder};
use super::node::{Path, quote};
use super::report::{Field, Report};
use super::source::Span;
use super::table::TableReader;
use super::values::{
    Item, TO, address as far_address, comment, container_source, far, item, list, port, ports,
    string, transport, values,
};

/// A forwarder and its `listen`, which can be judged even where the rest is
/// wrong.
pub(super) struct Forward {
    pub(super) model: Option<ServiceForwarder>,
    pub(super) listener: Option<Listener>,
}

/// The `listen` of a forwarder, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Listener {
    pub(super) socket: SocketAddr,
    pub(super) proto: Proto,
    pub(super) span: Option<Span>,
}

/// Reads a `[[forward]]`.
pub(super) fn forward(report: &mut Report, field: &Field<'_>, place: Place) -> Option<Forward> {
    let mut table = TableReader::open(
        report,
        field,
        "expected a table with `from`, `to` and `port`",
    )?;
    let from = table
        .required(
            report,
            "from",
            "expected `from`: the containers, by bridge, address or CIDR",
        )
        .and_then(|field| {
            list(
                report,
                &field,
                "expected a bridge, an address or a CIDR, or a list of these",
                item(container_source),
            )
        });
    let to = far(report, &mut table, TO, item(far_address));
    let port = ports(report, &mut table, item(port));
    let proto = transport(report, &mut table);
    let listen_field = table.optional("listen");
    let listen = listen_field.map(|field| {
        let text = string(
            report,
            &field,
            "expected an address with a port, such as \"172.17.0.1:15432\"",
        )?;
        field.judge(report, address::listen(text))
    });
    let comment = comment(report, &mut table);
    table.finish(report);

    if let (Some(from), Some(to)) = (&from, &to) {
        one_family(report, &field.path, from, to);
    }
    let listener = match (listen.flatten(), listen_field, proto) {
        (Some(socket), Some(field), Some(proto)) => Some(Listener {
            socket,
            proto,
            span: field.node.span,
        }),
        _ => None,
    };
    if let Some(listener) = &listener {
        fits_listener(
            report,
            &field.path,
            listener,
            from.as_deref(),
            to.as_deref(),
            port.as_deref(),
        );
    }
    let model = || {
        Some(ServiceForwarder {
            from: values(from?),
            to: values(to?),
            port: values(port?),
            proto: proto?,
            listen: listen.map_or(Some(None), |listen| listen.map(Some))?,
            comment: comment?,
            place,
        })
    };
    Some(Forward {
        model: model(),
        listener,
    })
}

fn family(address: &Address) -> Option<bool> {
    match address {
        Address::Net(net) => Some(net.addr().is_ipv4()),
        Address::Range(first, _) => Some(first.is_ipv4()),
        Address::Name(_) => None,
    }
}

fn source_family(source: &ContainerSource) -> Option<bool> {
    match source {
        ContainerSource::Net(net) => Some(net.addr().is_ipv4()),
        ContainerSource::Bridge(_) => None,
    }
}

fn family_name(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// Every address on one side needs one of its family on the other, or it is a
/// line that can never carry a flow.
fn one_family(
    report: &mut Report,
    path: &Path<'_>,
    from: &[Item<ContainerSource>],
    to: &[Item<Address>],
) {
    let sources: Vec<_> = from.iter().map(|item| source_family(&item.value)).collect();
    let targets: Vec<_> = to.iter().map(|item| family(&item.value)).collect();
    let meets = |side: &[Option<bool>], v4: bool| {
        side.iter()
            .any(|other| other.is_none_or(|other| other == v4))
    };
    let (from_path, to_path) = (path.key("from"), path.key("to"));
    for (item, v4) in to.iter().zip(&targets) {
        if let Some(v4) = v4.filter(|v4| !meets(&sources, *v4)) {
            let fault = Fault::new(
                format!(
                    "{} is {}, and `from` has only {}",
                    quote(&item.value.to_string()),
                    family_name(v4),
                    family_name(!v4)
                ),
                "expected addresses of one family on both sides of a forwarder",
            );
            let first = from.first();
            let fault = fault.elsewhere(
                first.and_then(|item| item.span),
                from_path.to_string(),
                "the containers are named here",
            );
            item.fault(report, &to_path, fault);
        }
    }
    for (item, v4) in from.iter().zip(&sources) {
        // Where `to` was of one other family altogether, that was said above.
        if let Some(v4) = v4.filter(|v4| {
            !meets(&targets, *v4)
                && sources
                    .iter()
                    .any(|other| other.is_none_or(|other| other != *v4))
        }) {
            let fault = Fault::new(
                format!(
                    "{} is {}, and `to` has only {}",
                    quote(&item.value.to_string()),
                    family_name(v4),
                    family_name(!v4)
                ),
                "expected addresses of one family on both sides of a forwarder",
            );
            let first = to.first();
            let fault = fault.elsewhere(
                first.and_then(|item| item.span),
                to_path.to_string(),
                "the service is named here",
            );
            item.fault(report, &from_path, fault);
        }
    }
}

/// With `listen`, one address and port stand for one other address and port.
fn fits_listener(
    report: &mut Report,
    path: &Path<'_>,
    listen: &Listener,
    from: Option<&[Item<ContainerSource>]>,
    to: Option<&[Item<Address>]>,
    port: Option<&[Item<PortRange>]>,
) {
    let v4 = listen.socket.is_ipv4();
    let here = |fault: Fault| {
        fault.elsewhere(
            listen.span,
            path.key("listen").to_string(),
            "because of this `listen`",
        )
    };
    let to_path = path.key("to");
    match to {
        Some([one]) => match &one.value {
            Address::Name(_) => {}
            Address::Net(net) if net.prefix_len() == net.max_prefix_len() => {
                if net.addr().is_ipv4() != v4 {
                    let fault = Fault::new(
                        format!(
                            "`{}` is {}, and `listen` is {}",
                            net.addr(),
                            family_name(!v4),
                            family_name(v4)
                        ),
                        "expected an address of the family of `listen`",
                    );
                    one.fault(report, &to_path, here(fault));
                }
            }
            several => {
                let fault = Fault::new(
                    format!("`{several}` is more than one address"),
                    "expected one address or host name",
                );
                one.fault(report, &to_path, here(fault));
            }
        },
        Some([_, second, ..]) => {
            let fault = Fault::new(
                "a forwarder with `listen` leads to one address",
                "expected one address or host name",
            );
            second.fault(report, &to_path, here(fault));
        }
        _ => {}
    }
    let port_path = path.key("port");
    match port {
        Some([one]) if one.value.first != one.value.last => {
            let fault = Fault::new(
                format!("`{}` is more than one port", one.value),
                "expected one port",
            );
            one.fault(report, &port_path, here(fault));
        }
        Some([_, second, ..]) => {
            let fault = Fault::new(
                "a forwarder with `listen` leads to one port",
                "expected one port",
            );
            second.fault(report, &port_path, here(fault));
        }
        _ => {}
    }
    // Containers of the other family cannot dial `listen`. Against a literal
    // `to` they were judged already.
    let named = to.is_some_and(|to| to.iter().all(|item| family(&item.value).is_none()));
    for item in from.unwrap_or_default().iter().filter(|_| named) {
        if source_family(&item.value).is_some_and(|family| family != v4) {
            let fault = Fault::new(
                format!(
                    "{} is {}, and `listen` is {}",
                    quote(&item.value.to_string()),
                    family_name(!v4),
                    family_name(v4)
                ),
                "expected containers of the family of `listen`",
            );
            item.fault(report, &path.key("from"), here(fault));
        }
    }
}
