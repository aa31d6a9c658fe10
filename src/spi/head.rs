//! The first rows of an answer as text: the others are counted and never held.

use pgrx::prelude::*;
use std::ffi::{CStr, c_char, c_int};

/// Most bytes of text.
pub const MOST: usize = 8 * 1024;
/// A value of more bytes than this is not looked at.
const LARGE: usize = 64 * 1024;

/// What a statement answered.
#[derive(Default)]
pub struct Head {
    text: String,
    /// Rows that are in the text, and rows in all.
    shown: u64,
    count: u64,
    /// The last one in the text is not whole.
    cut: bool,
}

impl Head {
    /// The names of the columns and the first rows, a line each; None when no rows were answered.
    pub fn text(&self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        let mut text = self.text.clone();
        if self.count > self.shown || self.cut {
            text.push_str(&format!("... ({} rows in all)\n", self.count));
        }
        Some(text)
    }

    /// Adds to the text what there is room for.
    fn push(&mut self, part: &str) {
        let room = MOST.saturating_sub(self.text.len());
        let fits = part.floor_char_boundary(room.min(part.len()));
        self.text.push_str(&part[..fits]);
        self.cut |= fits < part.len();
    }

    fn is_full(&self) -> bool {
        self.cut || self.text.len() >= MOST
    }
}

/// A receiver of rows that PostgreSQL calls; begins with PostgreSQL's part.
#[repr(C)]
struct Receiver {
    dest: pg_sys::DestReceiver,
    head: *mut Head,
}

/// Runs a plan with values for its parameters; its rows go into `head`. What [`pg_sys::SPI_processed`]
/// says is set as usual.
///
/// # Safety
/// SPI is connected, and the plan takes exactly these arguments.
pub unsafe fn run_plan(
    plan: pg_sys::SPIPlanPtr,
    types: &[pg_sys::Oid],
    values: &[pg_sys::Datum],
    nulls: &[c_char],
    head: &mut Head,
) -> c_int {
    // SAFETY: the list has as many members as there are types; the receiver and the head outlive
    // the call, and SPI keeps neither.
    unsafe {
        let list = pg_sys::makeParamList(types.len() as c_int);
        if !list.is_null() {
            let members = (*list).params.as_mut_slice(types.len());
            for (index, member) in members.iter_mut().enumerate() {
                member.value = values[index];
                member.isnull = nulls[index] == b'n' as c_char;
                member.pflags = pg_sys::PARAM_FLAG_CONST as u16;
                member.ptype = types[index];
            }
        }
        let mut receiver = Receiver {
            dest: pg_sys::DestReceiver {
                receiveSlot: Some(receive),
                rStartup: Some(begin),
                rShutdown: Some(nothing),
                rDestroy: Some(nothing),
                mydest: pg_sys::CommandDest::DestTuplestore,
            },
            head,
        };
        let options = pg_sys::SPIExecuteOptions {
            params: list,
            dest: (&raw mut receiver).cast(),
            ..Default::default()
        };
        pg_sys::SPI_execute_plan_extended(plan, &options)
    }
}

/// Rows come: of several statements the last one's stay.
#[pg_guard]
unsafe extern "C-unwind" fn begin(
    receiver: *mut pg_sys::DestReceiver,
    _operation: c_int,
    columns: pg_sys::TupleDesc,
) {
    // SAFETY: called with the receiver of `run_plan`, while its frame is there.
    let head = unsafe { &mut *(*receiver.cast::<Receiver>()).head };
    *head = Head::default();
    // SAFETY: a valid descriptor; names are C strings.
    unsafe {
        for (index, column) in
            (*columns).attrs.as_slice((*columns).natts as usize).iter().enumerate()
        {
            head.push(if index > 0 { " | " } else { "" });
            head.push(&CStr::from_ptr(column.attname.data.as_ptr()).to_string_lossy());
        }
    }
    head.push("\n");
}

#[pg_guard]
unsafe extern "C-unwind" fn receive(
    slot: *mut pg_sys::TupleTableSlot,
    receiver: *mut pg_sys::DestReceiver,
) -> bool {
    // SAFETY: as in `begin`.
    let head = unsafe { &mut *(*receiver.cast::<Receiver>()).head };
    head.count += 1;
    if head.is_full() {
        return true;
    }
    // SAFETY: the slot holds a row of the announced columns; its arrays have an entry for each.
    unsafe {
        let columns = (*slot).tts_tupleDescriptor;
        let count = (*columns).natts;
        if i32::from((*slot).tts_nvalid) < count {
            pg_sys::slot_getsomeattrs_int(slot, count);
        }
        for index in 0..count as usize {
            head.push(if index > 0 { " | " } else { "" });
            if !*(*slot).tts_isnull.add(index) {
                let column = &(*columns).attrs.as_slice(count as usize)[index];
                head.push(&value_text(column, *(*slot).tts_values.add(index)));
            }
            if head.is_full() {
                break;
            }
        }
    }
    head.push("\n");
    head.shown += u64::from(!head.cut);
    true
}

/// A value by its type's output function.
unsafe fn value_text(column: &pg_sys::FormData_pg_attribute, value: pg_sys::Datum) -> String {
    let (mut function, mut varlena) = (pg_sys::InvalidOid, false);
    // SAFETY: the value is of the column's type, and not NULL.
    unsafe {
        if column.attlen == -1 {
            let bytes = pg_sys::toast_raw_datum_size(value);
            if bytes > LARGE {
                return format!("({bytes} bytes)");
            }
        }
        pg_sys::getTypeOutputInfo(column.atttypid, &mut function, &mut varlena);
        let text = pg_sys::OidOutputFunctionCall(function, value);
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        copy
    }
}

unsafe extern "C-unwind" fn nothing(_receiver: *mut pg_sys::DestReceiver) {}
