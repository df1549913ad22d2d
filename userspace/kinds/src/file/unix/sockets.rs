// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Captures the Unix sockets of a tree: what prevents carrying each over, which socket is at its
//! other end, and which process made it.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use crust_model::refusal::Counterpart;
use crust_model::{Error, Result};
use crust_sys::{fcntl, sockopt};
use libc::SOL_SOCKET;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::hidden;
use super::{Maker, Options, Peer, UnixSocket, message};
use crate::file::collect::FileCapture;
use crate::file::probe::Probe;
use crate::file::unix_peer::{Connection, Diag, OtherEnd};
use crate::file::{DescriptionId, FileKind, OfFile, refused};
use crate::kind::Kind;

/// The Unix sockets of the tree, collected during the capture.
#[derive(Default)]
pub struct Sockets {
    found: Vec<(UnixSocket, DescriptionId, OtherEnd)>,
    diag: Option<Diag>,
}

impl Sockets {
    fn ask(&mut self, ino: u64) -> nix::Result<Connection> {
        let diag = match self.diag.take() {
            Some(diag) => diag,
            None => Diag::open()?,
        };
        self.diag.insert(diag).ask(ino)
    }
}

impl Kind for UnixSocket {
    type Source = OfFile;
}

impl FileKind for UnixSocket {
    fn matches(probe: &Probe) -> bool {
        // Sockets of other families are told apart, and refused, when they are captured.
        probe.file_type() == libc::S_IFSOCK && probe.flags & libc::O_PATH == 0
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let socket = probe.take()?;
        let ask = |name| {
            sockopt::get_int(socket.as_fd(), SOL_SOCKET, name)
                .map_err(|errno| probe.failed("getsockopt", errno))
        };
        let domain = ask(libc::SO_DOMAIN)?;
        if domain != libc::AF_UNIX {
            return refused::refuse_socket(probe, &socket, domain, cx);
        }
        if let Some((why, remedy)) = objection(probe, &socket)? {
            cx.refuse(probe, "unix-socket", why, remedy);
            return Ok(());
        }
        let connection = match cx.sockets.ask(probe.identity.ino) {
            Ok(connection) => connection,
            Err(Errno::ENOENT) => {
                cx.refuse(
                    probe,
                    "unix-peer-unknown",
                    "a Unix socket: crust cannot find its other end, because it is in another network namespace, or \
                     because this kernel tells of no other ends",
                    "run crust in the network namespace of the socket (nsenter -n), or load the kernel's \
                     unix_diag module (CONFIG_UNIX_DIAG)",
                );
                return Ok(());
            }
            Err(errno) => return Err(probe.failed("ask sock_diag", errno)),
        };
        let socket_type = ask(libc::SO_TYPE)?;
        let queue = message::peek_all(probe, &socket, socket_type, &connection, cx)?;
        let first = queue.first().map_or(0, |message| message.data.len());
        if (socket_type == libc::SOCK_DGRAM
            && fcntl::readable(socket.as_fd()).is_ok_and(|bytes| bytes as usize != first))
            || (queue.is_empty() && has_input(&socket)? && connection.shutdown & 1 == 0)
        {
            refuse_hidden(probe, cx);
            return Ok(());
        }
        let maker = maker(probe, &socket, connection.other_end, cx)?;
        let state = UnixSocket {
            open: probe.open_with_owner(&socket)?,
            socket_type,
            peer: Peer::None,
            maker,
            shutdown: connection.shutdown,
            options: Options::read(&socket, socket_type).map_err(|errno| {
                Error::task(
                    probe.holder.pid,
                    format!("{}: options", probe.object),
                    errno,
                )
            })?,
            queue,
        };
        let found = (state, probe.id, connection.other_end);
        cx.sockets.found.push(found);
        Ok(())
    }

    fn resolve_refs(cx: &mut FileCapture) -> Result<()> {
        let found = std::mem::take(&mut cx.sockets.found);
        let ino_of = |id: DescriptionId| cx.probes[id.0 as usize].identity.ino;
        let by_ino: HashMap<u64, _> = found
            .iter()
            .map(|(_, id, other_end)| (ino_of(*id), (*id, *other_end)))
            .collect();
        let mut settled = Vec::new();
        for (state, id, other_end) in &found {
            let own_ino = ino_of(*id);
            let peer = match *other_end {
                OtherEnd::Unconnected => Some(Peer::None),
                OtherEnd::Gone => Some(Peer::Gone),
                OtherEnd::Socket(ino) => by_ino
                    .get(&ino)
                    // Datagram sockets may be connected in one direction only.
                    .filter(|(_, back)| *back == OtherEnd::Socket(own_ino))
                    .map(|&(peer, _)| Peer::Socket(peer)),
            };
            let state = peer.map(|peer| UnixSocket {
                peer,
                ..state.clone()
            });
            settled.push((*id, *other_end, state));
        }
        for (id, other_end, state) in settled {
            match state {
                Some(state) if hides_messages(&state, cx)? => {
                    let probe = Rc::clone(&cx.probes[id.0 as usize]);
                    refuse_hidden(&probe, cx);
                }
                Some(state) => cx.keep(id, state)?,
                None => {
                    let probe = Rc::clone(&cx.probes[id.0 as usize]);
                    cx.refuse(
                        &probe,
                        "unix-peer-outside",
                        "a Unix socket that is connected to a program outside of the tree",
                        "dump a tree that contains both programs, or have one of them close the \
                         connection",
                    );
                    if let OtherEnd::Socket(peer) = other_end {
                        cx.refusals.held_by(Counterpart::Open {
                            link: format!("socket:[{peer}]"),
                            access: None,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns whether a socket has messages of its peer that peeking does not show.
fn hides_messages(state: &UnixSocket, cx: &FileCapture) -> Result<bool> {
    let Peer::Socket(peer) = state.peer else {
        return Ok(false);
    };
    if state.socket_type == libc::SOCK_STREAM {
        return Ok(false);
    }
    let probe = &cx.probes[peer.0 as usize];
    let sender = probe.take()?;
    hidden::are_there(sender.as_fd(), state.socket_type, &state.queue)
        .map_err(|errno| probe.failed("look for hidden messages", errno))
}

fn refuse_hidden(probe: &Probe, cx: &mut FileCapture) {
    cx.refuse(
        probe,
        "unix-message",
        "a Unix socket with a message that cannot be read without taking it (an empty one, \
         read with MSG_PEEK before, as an earlier dump or explain did)",
        "dump it when the program has received that message",
    );
}

/// Returns what prevents carrying a socket over, and the remedy.
fn objection(probe: &Probe, socket: &OwnedFd) -> Result<Option<(String, &'static str)>> {
    let failed = |errno| probe.failed("ask the Unix socket", errno);
    let ask = |name| sockopt::get_int(socket.as_fd(), SOL_SOCKET, name).map_err(failed);
    if ask(libc::SO_ACCEPTCONN)? != 0 {
        let name = refused::local_name(socket);
        let why = format!("a Unix socket that listens{name}: not carried over yet");
        return Ok(Some((why, refused::CLOSE_LISTENER)));
    }
    let name = refused::local_name(socket);
    if !name.is_empty() {
        let why = format!("a Unix socket with a name{name}: not carried over yet");
        return Ok(Some((why, "have the program close it before the dump")));
    }
    // With an empty buffer the result is the number of instructions, or EACCES for an eBPF filter.
    if sockopt::get(socket.as_fd(), SOL_SOCKET, libc::SO_GET_FILTER, &mut []) != Ok(0) {
        let why = "a Unix socket with a packet filter: not carried over yet".to_owned();
        return Ok(Some((
            why,
            "have the program detach the filter before the dump (SO_DETACH_FILTER)",
        )));
    }
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLPRI)];
    poll(&mut polled, PollTimeout::ZERO).map_err(failed)?;
    let answer = polled[0].revents().unwrap_or(PollFlags::empty());
    if answer.contains(PollFlags::POLLPRI) {
        let why = "a Unix socket with an urgent byte (MSG_OOB) that was not read".to_owned();
        return Ok(Some((why, "dump it when the program has read that byte")));
    }
    if answer.contains(PollFlags::POLLERR) {
        let why = "a Unix socket with an error that was not read (SO_ERROR)".to_owned();
        return Ok(Some((why, "dump it when the program has read the error")));
    }
    Ok(None)
}

fn has_input(socket: &OwnedFd) -> Result<bool> {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO)
        .map_err(|errno| Error::system("poll of a Unix socket", errno))?;
    let answer = polled[0].revents().unwrap_or(PollFlags::empty());
    Ok(answer.contains(PollFlags::POLLIN))
}

/// Returns the process that made the pair. If it is not in the tree, its pid is lost.
fn maker(
    probe: &Probe,
    socket: &OwnedFd,
    other_end: OtherEnd,
    cx: &mut FileCapture,
) -> Result<Option<Maker>> {
    if other_end == OtherEnd::Unconnected {
        return Ok(None);
    }
    let mut bytes = [0; 12];
    sockopt::get(socket.as_fd(), SOL_SOCKET, libc::SO_PEERCRED, &mut bytes)
        .map_err(|errno| probe.failed("SO_PEERCRED", errno))?;
    let field = |at: usize| {
        let mut field = [0; 4];
        field.copy_from_slice(&bytes[at..at + 4]);
        field
    };
    let maker = Maker {
        pid: i32::from_ne_bytes(field(0)),
        uid: u32::from_ne_bytes(field(4)),
        gid: u32::from_ne_bytes(field(8)),
    };
    let mut living = cx.tree.iter().filter(|process| process.zombie.is_none());
    if !living.any(|process| process.pid == maker.pid) {
        cx.lose(
            probe,
            "unix-peer-credentials",
            format!(
                "SO_PEERCRED of this Unix socket names process {}, which is not in the tree: after a \
                 restore it names another process",
                maker.pid
            ),
            "nothing needs to be done, unless the program looks at it",
        );
    }
    Ok(Some(maker))
}
