// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's console of a finished boot, and whether the kernel complained on it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Any of these means that something is wrong in the kernel, whatever the tests said.
const COMPLAINTS: &[&str] = &[
    "Oops",
    "BUG:",
    "WARNING:",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU",
    "sleeping function called from invalid context",
    "KASAN:",
    "UBSAN:",
    "ODEBUG:",
    "Kernel panic",
    "rcu_preempt detected stalls",
    "detected expedited stalls",
    "RCU stall",
    "self-detected stall",
    "soft lockup",
    "hard LOCKUP",
    "refcount_t:",
    "list_add corruption",
    "list_add double add",
    "list_del corruption",
];

/// A report of KCSAN begins and ends with these.
const DATA_RACE: (&str, &str) = ("BUG: KCSAN:", "Reported by Kernel Concurrency Sanitizer");

/// What the functions of the series and of the module have in their names. The kernel has data races of its own, which
/// nobody minds; in one that we take part in, one of the two threads is in such a function.
const OURS: &[&str] = &["ckpt", "pid_renumber"];

/// The lines on which the kernel complains, in order.
pub fn complaints(console: &str) -> Vec<&str> {
    let hung = |line: &str| line.contains("INFO: task ") && line.contains(" blocked");
    // SLUB begins so what it says of an object: `BUG kmalloc-64 (Not tainted): Poison overwritten`.
    let object = |line: &str| {
        let message = line.split_once("] ").map_or(line, |(_, message)| message);
        message.starts_with("BUG ")
    };
    let lines: Vec<&str> = console.lines().collect();
    let foreign_race = |index: usize| {
        lines[index].contains(DATA_RACE.0)
            && !lines[index..]
                .iter()
                .take_while(|line| !line.contains(DATA_RACE.1))
                .any(|line| OURS.iter().any(|name| line.contains(name)))
    };
    let complains = |line: &str| {
        COMPLAINTS.iter().any(|text| line.contains(text)) || hung(line) || object(line)
    };
    (0..lines.len())
        .filter(|index| complains(lines[*index]) && !foreign_race(*index))
        .map(|index| lines[index])
        .collect()
}

/// The console as text; a guest that died early may leave bytes that are not.
pub fn read(path: &Path) -> Result<String> {
    let bytes =
        fs::read(path).with_context(|| format!("reading the console {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::complaints;

    #[test]
    fn finds_what_a_kernel_says_when_it_is_broken() {
        for line in [
            "[    1.2] Oops: general protection fault, probably for non-canonical address",
            "[    1.2] BUG: unable to handle page fault for address: ffffc90000000000",
            "[    1.2] WARNING: CPU: 0 PID: 7 at kernel/pid.c:100 pid_renumber+0x10/0x20",
            "[    1.2] INFO: task crust:7 blocked for more than 120 seconds.",
            "[    1.2] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
            "[    1.2] BUG: KASAN: slab-use-after-free in detach_pid+0x10/0x20",
            "[    1.2] BUG kmalloc-64 (Not tainted): Poison overwritten",
            "[    1.2] UBSAN: shift-out-of-bounds in kernel/checkpoint.c:7:9",
            "[    1.2] list_add double add: new=ffff888100000000, prev=ffff888100000000, next=ffff888100000000.",
            "[    1.2] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-...D }",
        ] {
            assert_eq!(complaints(line), [line]);
        }
    }

    #[test]
    fn keeps_silent_about_a_healthy_boot() {
        let of_a_program =
            "[ 9.1] traps: a.out[7] general protection fault ip:7f00 sp:7ffc error:0";
        assert!(complaints(of_a_program).is_empty());
        assert!(
            complaints("[    0.0] Linux version 7.3.4\n[    0.5] INFO: task scheduler ready\n")
                .is_empty()
        );
        let of_kasan = "[    0.0] kasan: KernelAddressSanitizer initialized (generic)";
        assert!(complaints(of_kasan).is_empty());
    }

    #[test]
    fn an_injected_fault_is_none() {
        let console = "\
[    9.1] FAULT_INJECTION: forcing a failure.
name failslab, interval 1, probability 0, space 0, times 0
[    9.1] CPU: 1 UID: 0 PID: 70 Comm: fuzz Not tainted 7.3.4 #1 PREEMPT
[    9.1] Call Trace:
[    9.1]  dump_stack_lvl+0x5d/0x80
[    9.1]  should_fail_ex+0x30e/0x3f0
[    9.1]  should_failslab+0x57/0x70
[    9.1] SLUB: Unable to allocate memory on CPU 1 (of node 0), gfp=0xcc0(GFP_KERNEL)
[    9.1] fuzz: page allocation failure: order:0, mode:0xcc0(GFP_KERNEL), nodemask=(null)
";
        assert!(complaints(console).is_empty());
    }

    #[test]
    fn of_data_races_only_ours_count() {
        let report = |function: &str| {
            format!(
                "\
[    9.1] ==================================================================
[    9.1] BUG: KCSAN: data-race in pid_nr_ns / {function}
[    9.1] 
[    9.1] write to 0xffff88800a of 4 bytes by task 70 on cpu 1:
[    9.1]  {function}+0x11/0x40
[    9.1] 
[    9.1] Reported by Kernel Concurrency Sanitizer on:
[    9.1] ==================================================================
[    9.2] misc ckpt: not a part of it
"
            )
        };
        assert_eq!(complaints(&report("pid_renumber")).len(), 1);
        assert_eq!(complaints(&report("ckpt_set_ids")).len(), 1);
        assert!(complaints(&report("tick_sched_do_timer")).is_empty());
    }
}
