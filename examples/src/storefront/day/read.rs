//! Reads a file in the form of the UCI "Online Retail" data set.
//!
//! Columns are found by their names, in any order; all eight must be there. Lines with one InvoiceNo are one
//! order, also when other invoices' lines stand between them: it takes the place of its first line.

use super::{Line, Order};
use std::{collections::HashMap, fmt, fs, path::Path};

const COLUMNS: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];
const BOM: &[u8] = b"\xef\xbb\xbf";
const INVOICE: usize = 0;
const STOCK_CODE: usize = 1;
const QUANTITY: usize = 3;
const UNIT_PRICE: usize = 5;
const CUSTOMER: usize = 6;

/// The most that a line's Quantity or UnitPrice may be, so that no sum over a file overflows.
const MAX_NUMBER: i64 = 1_000_000_000;

/// Why a file cannot be used: where, and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    file: String,
    line: Option<u64>,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// Reads the orders of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Order>, Problem> {
    let problem = |line, what| Problem { file: path.display().to_string(), line, what };
    let bytes = fs::read(path).map_err(|e| problem(None, format!("cannot be read: {e}")))?;
    parse(&bytes).map_err(|(at, what)| problem(Some(line_of(&bytes, at)), what))
}

/// Reads the orders in a file's bytes; an error says at which byte the row begins.
fn parse(bytes: &[u8]) -> Result<Vec<Order>, (usize, String)> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err((error.valid_up_to(), "is not UTF-8".to_owned()));
    }
    let bom = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&bytes[bom..]);
    let at = |position: Option<&csv::Position>| bom + position.map_or(0, |p| p.byte() as usize);
    let mut record = csv::StringRecord::new();
    let mut columns = None;
    let mut orders = Orders::default();
    while reader.read_record(&mut record).map_err(|e| (at(e.position()), explain(&e)))? {
        let blame = |what| (at(record.position()), what);
        match &columns {
            None => columns = Some(find_columns(&record).map_err(blame)?),
            Some(columns) => orders.add(&record, columns).map_err(blame)?,
        }
    }
    match columns {
        Some(_) => Ok(orders.list),
        None => Err((0, "is empty: the first line must name the columns".to_owned())),
    }
}

/// The line on which the row that begins at this byte stands. The reader takes what is left of the line
/// break before a row, and empty lines, for part of the row.
fn line_of(bytes: &[u8], at: usize) -> u64 {
    let at = at.min(bytes.len());
    let breaks = bytes[at..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    1 + bytes[..at + breaks].iter().filter(|b| **b == b'\n').count() as u64
}

fn explain(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} fields where the first line has {expected_len}")
        }
        _ => error.to_string(),
    }
}

fn find_columns(header: &csv::StringRecord) -> Result<[usize; COLUMNS.len()], String> {
    let mut found = [0; COLUMNS.len()];
    for (place, name) in found.iter_mut().zip(COLUMNS) {
        let mut hits = (0..header.len()).filter(|i| header[*i].trim().eq_ignore_ascii_case(name));
        *place = hits.next().ok_or_else(|| {
            let seen = header.iter().map(str::trim).collect::<Vec<_>>().join(", ");
            format!("column {name} is missing (found: {seen})")
        })?;
        if hits.next().is_some() {
            return Err(format!("column {name} is there twice"));
        }
    }
    Ok(found)
}

#[derive(Default)]
struct Orders {
    list: Vec<Order>,
    by_invoice: HashMap<Box<str>, usize>,
}

impl Orders {
    fn add(&mut self, record: &csv::StringRecord, columns: &[usize; COLUMNS.len()]) -> Result<(), String> {
        let field = |column: usize| record.get(columns[column]).unwrap_or("").trim();
        let (invoice, code) = (field(INVOICE), field(STOCK_CODE));
        if invoice.is_empty() {
            return Err("InvoiceNo is empty".to_owned());
        }
        if code.is_empty() {
            return Err("StockCode is empty".to_owned());
        }
        let line = Line {
            code: code.into(),
            quantity: quantity(field(QUANTITY))?,
            price: price(field(UNIT_PRICE))?,
        };
        let customer = customer(field(CUSTOMER))?;
        let order = match self.by_invoice.get(invoice) {
            Some(index) => &mut self.list[*index],
            None => {
                self.by_invoice.insert(invoice.into(), self.list.len());
                self.list.push(Order { invoice: invoice.into(), customer: None, lines: Vec::new() });
                let last = self.list.len() - 1;
                &mut self.list[last]
            }
        };
        order.customer = order.customer.or(customer);
        order.lines.push(line);
        Ok(())
    }
}

/// A number as the data set writes whole ones: `6`, `-1`, also `6.0`.
fn whole(text: &str) -> Option<i64> {
    let digits = match text.split_once('.') {
        Some((digits, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => digits,
        Some(_) => return None,
        None => text,
    };
    digits.parse().ok()
}

fn quantity(text: &str) -> Result<i64, String> {
    let number = whole(text).ok_or_else(|| format!("Quantity {text:?} is not a whole number"))?;
    if number.abs() > MAX_NUMBER {
        return Err(format!("Quantity {text:?} is out of range (at most {MAX_NUMBER})"));
    }
    Ok(number)
}

/// Pounds to 1/10 000 pounds, rounded to the nearest.
fn price(text: &str) -> Result<i64, String> {
    let pounds: f64 = text.parse().map_err(|_| format!("UnitPrice {text:?} is not a number"))?;
    if !pounds.is_finite() || pounds.abs() > MAX_NUMBER as f64 {
        return Err(format!("UnitPrice {text:?} is out of range (at most {MAX_NUMBER})"));
    }
    Ok((pounds * 10_000.0).round() as i64)
}

fn customer(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match whole(text).and_then(|number| u64::try_from(number).ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("CustomerID {text:?} is not a customer's number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

    fn failure(text: &str) -> String {
        let (at, what) = parse(text.as_bytes()).unwrap_err();
        format!("{}: {what}", line_of(text.as_bytes(), at))
    }

    #[test]
    fn lines_of_one_invoice_are_one_order_at_its_first_place() {
        let text = format!(
            "{HEADER}\n536365,85123A,\"HOLDER, \"\"WHITE\"\"\",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n\
             C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,,United Kingdom\n\
             536365,71053,\"two\nlines\",4.0,2010-12-01 08:26:00,0.001,17850,United Kingdom\n"
        );
        let orders = parse(text.as_bytes()).unwrap();
        assert_eq!(orders.len(), 2);
        assert_eq!((&*orders[0].invoice, orders[0].customer), ("536365", Some(17_850)));
        let lines = [("85123A", 6, 25_500), ("71053", 4, 10)];
        let lines = lines.map(|(code, quantity, price)| Line { code: code.into(), quantity, price });
        assert_eq!(orders[0].lines, lines);
        assert!(orders[1].is_cancellation() && orders[1].customer.is_none());
        assert_eq!(orders[1].lines[0].quantity, -1);
    }

    #[test]
    fn columns_in_any_order_a_byte_order_mark_and_crlf() {
        let text = "\u{feff}Country,CustomerID,UnitPrice,Quantity,\"InvoiceNo\",InvoiceDate,StockCode,Description\r\n\
                    France,12583.0,3.75,24,536370,2010-12-01 08:45:00,22728,ALARM CLOCK\r\n";
        let orders = parse(text.as_bytes()).unwrap();
        assert_eq!((&*orders[0].invoice, orders[0].customer), ("536370", Some(12_583)));
        assert_eq!(orders[0].lines, [Line { code: "22728".into(), quantity: 24, price: 37_500 }]);
    }

    #[test]
    fn the_first_column_is_found_behind_a_byte_order_mark() {
        let text = format!("\u{feff}{HEADER}\n1,A,x,1,d,1.0,,UK\n");
        assert_eq!(parse(text.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn bad_numbers_are_named_with_their_line() {
        for (row, what) in [
            ("1,A,x,six,d,1.0,,UK", "Quantity \"six\" is not a whole number"),
            ("1,A,x,1.5,d,1.0,,UK", "Quantity \"1.5\" is not a whole number"),
            ("1,A,x,,d,1.0,,UK", "Quantity \"\" is not a whole number"),
            ("1,A,x,99999999999999999999,d,1.0,,UK", "is not a whole number"),
            ("1,A,x,1,d,cheap,,UK", "UnitPrice \"cheap\" is not a number"),
            ("1,A,x,1,d,NaN,,UK", "UnitPrice \"NaN\" is out of range"),
            ("1,A,x,1,d,1.0,bob,UK", "CustomerID \"bob\" is not a customer's number"),
            ("1,A,x,1,d,1.0,-5,UK", "CustomerID \"-5\""),
            (",A,x,1,d,1.0,,UK", "InvoiceNo is empty"),
            ("1,,x,1,d,1.0,,UK", "StockCode is empty"),
            ("1,A,x,1,d,1.0,UK", "has 7 fields where the first line has 8"),
        ] {
            for end in ["\n", "\r\n"] {
                let text = [HEADER, "1,A,\"x", "y\",1,d,1.0,,UK", "", row, "2,A,x,1,d,1.0,,UK", ""].join(end);
                let failure = failure(&text);
                assert!(failure.starts_with("5: ") && failure.contains(what), "{row} {end:?}: {failure}");
            }
        }
    }

    #[test]
    fn a_missing_column_is_named_and_so_is_what_was_found() {
        let header = HEADER.replace("Quantity,", "");
        let failure = failure(&format!("{header}\n"));
        assert!(failure.starts_with("1: column Quantity is missing (found: InvoiceNo, "), "{failure}");
        assert!(self::failure(&format!("{HEADER},Quantity\n")).contains("column Quantity is there twice"));
        assert!(self::failure("").starts_with("1: is empty"));
    }

    #[test]
    fn bytes_that_are_no_text_are_named_with_their_line() {
        let bytes = [HEADER.as_bytes(), b"\n1,A,\xa3,1,d,1.0,,UK\n"].concat();
        let (at, what) = parse(&bytes).unwrap_err();
        assert_eq!((line_of(&bytes, at), &*what), (2, "is not UTF-8"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let problem = read(Path::new("/no/such/day.csv")).unwrap_err().to_string();
        assert!(problem.starts_with("/no/such/day.csv: cannot be read: "), "{problem}");
    }
}
