// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A socket as `explain` shows it.

use std::fmt;

use super::{Buffers, SocketView, TcpView, UnixView};

impl fmt::Display for SocketView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, text: String| {
            write!(f, "\n      {name:<10} {text}")
        };
        write!(
            f,
            "process {}, fd {}: {} {}",
            self.pid, self.fd, self.family, self.socket_type
        )?;
        if self.protocol != "0" {
            write!(f, " {}", self.protocol)?;
        }
        write!(f, ", {}", self.state)?;
        match (&self.local, &self.peer) {
            (Some(local), Some(peer)) => write!(f, ", {local} -> {peer}")?,
            (Some(local), None) => write!(f, ", {local}")?,
            (None, Some(peer)) => write!(f, ", -> {peer}")?,
            (None, None) => {}
        }
        line(f, "identity", format!("inode {}", self.inode))?;
        let shutdown = match (self.shutdown_receive, self.shutdown_send) {
            (false, false) => "none",
            (true, false) => "receive",
            (false, true) => "send",
            (true, true) => "receive and send",
        };
        line(
            f,
            "errors",
            format!(
                "error {}, soft {}, in the error queue {}; shutdown {shutdown}",
                self.error, self.error_soft, self.error_queue
            ),
        )?;
        line(f, "buffers", self.buffers.to_string())?;
        if let Some(tcp) = &self.tcp {
            tcp.lines()
                .try_for_each(|(name, text)| line(f, name, text))?;
        }
        if let Some(unix) = &self.unix {
            unix.lines()
                .try_for_each(|(name, text)| line(f, name, text))?;
        }
        if let Some(listen) = &self.listen {
            let waiting = listen.connections.len();
            let text = format!("backlog {}, {waiting} waiting", listen.backlog);
            line(f, "listen", text)?;
            for one in &listen.connections {
                let text = format!(
                    "from {}, {}, {} bytes received",
                    one.from, one.state, one.recv_bytes
                );
                line(f, "waiting", text)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |locked| if locked { " (set)" } else { "" };
        write!(
            f,
            "send {}{}, receive {}{}",
            self.send,
            set(self.send_locked),
            self.receive,
            set(self.receive_locked)
        )
    }
}

impl TcpView {
    fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let yes = |flag, name| if flag { name } else { "" };
        let options: Vec<_> = [
            yes(self.sack, "SACK"),
            yes(self.window_scaling, "window scaling"),
            yes(self.timestamps, "timestamps"),
            yes(self.timestamps_in_us, "timestamps in us"),
        ]
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
        [
            (
                "sequence",
                format!(
                    "send: una {}, nxt {}, write {}; receive: nxt {}, copied {}, wup {}",
                    self.snd_una,
                    self.snd_nxt,
                    self.write_seq,
                    self.rcv_nxt,
                    self.copied_seq,
                    self.rcv_wup
                ),
            ),
            (
                "queues",
                format!(
                    "receive {} bytes unread; send {} bytes unacknowledged",
                    self.recv_bytes, self.send_bytes
                ),
            ),
            (
                "windows",
                format!(
                    "send {} (largest {}, wl1 {}, scale {}); receive {} (scale {})",
                    self.snd_wnd,
                    self.max_window,
                    self.snd_wl1,
                    self.snd_wscale,
                    self.rcv_wnd,
                    self.rcv_wscale
                ),
            ),
            (
                "options",
                format!("MSS {}; {}", self.mss_clamp, options.join(", ")),
            ),
            (
                "timestamps",
                format!("now {}; the peer's last {}", self.timestamp, self.ts_recent),
            ),
            ("congestion", self.congestion.clone()),
        ]
        .into_iter()
    }
}

impl UnixView {
    fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let peer = format!("inode {}, cookie {:#x}", self.peer_inode, self.peer_cookie);
        let queue = format!(
            "receive {} bytes in {} messages, {} descriptors",
            self.recv_bytes, self.recv_messages, self.recv_fds
        );
        [("peer", peer), ("queues", queue)].into_iter()
    }
}
