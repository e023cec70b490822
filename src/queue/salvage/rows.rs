//! Rows out of a table of an index that may be damaged, one by one.
//!
//! A table is walked from its first row; where that comes to a page that can't be read, from its last row towards it; and what lies
//! between two such pages is looked up by the keys that the table's indexes, or a table beside it, still tell. A row is taken as a
//! whole or not at all. Content that was changed without breaking the form of a page can't be noticed.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, Row, Statement, params_from_iter};

/// A table that both indexes have.
pub(super) struct Table<'c> {
    old: &'c Connection,
    new: &'c Connection,
    name: String,
    columns: Vec<String>,
    /// What tells a row from the others.
    key: Vec<String>,
    /// A walk that comes to more rows goes round in circles.
    most: u64,
}

/// What stopped a walk.
enum Stop {
    /// The old index can't be read on.
    Damage,
    /// The new index can't be written.
    Write(rusqlite::Error),
}

impl<'c> Table<'c> {
    /// None if the old index doesn't have it.
    pub(super) fn of_both(
        old: &'c Connection,
        new: &'c Connection,
        name: &str,
    ) -> rusqlite::Result<Option<Self>> {
        let wanted = columns(new, name)?;
        let Ok(found) = columns(old, name) else { return Ok(None) };
        let columns: Vec<String> = found
            .iter()
            .map(|(column, _)| column.clone())
            .filter(|column| wanted.iter().any(|(wanted, _)| wanted == column))
            .collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let mut key: Vec<(i64, String)> = found
            .into_iter()
            .filter(|(_, place)| *place > 0)
            .map(|(column, place)| (place, column))
            .collect();
        key.sort();
        let key = if key.is_empty() {
            vec!["rowid".to_owned()]
        } else {
            key.into_iter().map(|(_, column)| column).collect()
        };
        let pages = "SELECT page_count*page_size/4 FROM pragma_page_count,pragma_page_size";
        let most = old.query_row(pages, (), |row| row.get(0)).unwrap_or(i64::MAX);
        Ok(Some(Self { old, new, name: name.to_owned(), columns, key, most: most.unsigned_abs() }))
    }

    /// Copies every row that can be read; whether that may not have been all. `beside` is a table whose rows have the same keys.
    pub(super) fn copy(&self, beside: Option<&str>) -> rusqlite::Result<bool> {
        let columns = self.columns.join(",");
        let mut insert = self.new.prepare(&self.insert())?;
        for order in ["ASC", "DESC"] {
            let order: Vec<String> = self.key.iter().map(|column| format!("{column} {order}")).collect();
            let sql = format!("SELECT {columns} FROM {} NOT INDEXED ORDER BY {}", self.name, order.join(","));
            match self.walk(&sql, &[], |row| self.put(&mut insert, row)) {
                Ok(whole) => return Ok(!whole),
                Err(Stop::Damage) => {}
                Err(Stop::Write(error)) => return Err(error),
            }
        }
        let condition: Vec<String> = self.key.iter().map(|column| format!("{column}=?")).collect();
        let one =
            format!("SELECT {columns} FROM {} NOT INDEXED WHERE {}", self.name, condition.join(" AND "));
        for key in self.keys(beside) {
            if let Err(Stop::Write(error)) = self.walk(&one, &key, |row| self.put(&mut insert, row)) {
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Tells each row's key, if it is a number, some more than once; whether that may not have been all.
    pub(super) fn each_key(
        &self,
        mut tell: impl FnMut(i64) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<bool> {
        let key = self.key.join(",");
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT {key} FROM {} NOT INDEXED ORDER BY {key} {order}", self.name);
            let told = self.walk(&sql, &[], |row| match row.get(0) {
                Ok(key) => tell(key).map(|()| true),
                Err(_) => Ok(false),
            });
            match told {
                Ok(whole) => return Ok(!whole),
                Err(Stop::Damage) => {}
                Err(Stop::Write(error)) => return Err(error),
            }
        }
        for key in self.keys(None) {
            if let [Value::Integer(key)] = key.as_slice() {
                tell(*key)?;
            }
        }
        Ok(true)
    }

    /// Copies the rows that have this number in a column; whether each could be taken.
    pub(super) fn copy_where(&self, column: &str, number: i64) -> rusqlite::Result<bool> {
        let sql = format!("SELECT {} FROM {} WHERE {column}=?", self.columns.join(","), self.name);
        let mut insert = self.new.prepare_cached(&self.insert())?;
        match self.walk(&sql, &[Value::Integer(number)], |row| self.put(&mut insert, row)) {
            Ok(whole) => Ok(whole),
            Err(Stop::Damage) => Ok(false),
            Err(Stop::Write(error)) => Err(error),
        }
    }

    fn insert(&self) -> String {
        let (columns, marks) = (self.columns.join(","), vec!["?"; self.columns.len()].join(","));
        format!("INSERT OR IGNORE INTO {}({columns}) VALUES({marks})", self.name)
    }

    /// Keys that stand elsewhere, as far as they can be read.
    fn keys(&self, beside: Option<&str>) -> Vec<Vec<Value>> {
        let key = self.key.join(",");
        let mut sources: Vec<String> = beside
            .into_iter()
            .flat_map(|beside| {
                ["ASC", "DESC"]
                    .map(|order| format!("SELECT {key} FROM {beside} NOT INDEXED ORDER BY {key} {order}"))
            })
            .collect();
        let sql = "SELECT name,ifnull(sql,'') FROM sqlite_master WHERE type='index' AND tbl_name=?1";
        let _ = self.walk(sql, &[Value::Text(self.name.clone())], |row| {
            let read = || Ok::<_, rusqlite::Error>((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            if let Ok((index, sql)) = read() {
                let condition =
                    sql.rsplit_once(" WHERE ").map(|(_, condition)| format!(" WHERE {condition}"));
                let condition = condition.unwrap_or_default();
                sources.push(format!("SELECT {key} FROM {} INDEXED BY {index}{condition}", self.name));
            }
            Ok(true)
        });
        let mut keys = Vec::new();
        for source in sources {
            let _ = self.walk(&source, &[], |row| {
                let key: rusqlite::Result<Vec<Value>> = (0..self.key.len()).map(|at| row.get(at)).collect();
                keys.extend(key);
                Ok(true)
            });
        }
        keys
    }

    /// Takes every row of a question to the old index; whether each could be taken.
    fn walk(
        &self,
        sql: &str,
        parameters: &[Value],
        mut take: impl FnMut(&Row<'_>) -> Result<bool, rusqlite::Error>,
    ) -> Result<bool, Stop> {
        let damage = |_| Stop::Damage;
        let mut rows = self.old.prepare_cached(sql).map_err(damage)?;
        let mut rows = rows.query(params_from_iter(parameters)).map_err(damage)?;
        let (mut count, mut whole) = (0, true);
        while let Some(row) = rows.next().map_err(damage)? {
            count += 1;
            if count > self.most {
                return Err(Stop::Damage);
            }
            whole &= take(row).map_err(Stop::Write)?;
        }
        Ok(whole)
    }

    /// Puts a row into the new index; false if it is none.
    fn put(&self, insert: &mut Statement<'_>, row: &Row<'_>) -> Result<bool, rusqlite::Error> {
        let mut values = Vec::with_capacity(self.columns.len());
        for at in 0..self.columns.len() {
            match row.get_ref(at) {
                Ok(ValueRef::Text(text)) if std::str::from_utf8(text).is_err() => return Ok(false),
                Ok(value) => values.push(ToSqlOutput::Borrowed(value)),
                Err(_) => return Ok(false),
            }
        }
        match insert.execute(params_from_iter(values)) {
            Ok(_) => Ok(true),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => Ok(false),
                _ => Err(error),
            },
        }
    }
}

/// A table's columns, and each one's place in the primary key, from 1.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut rows = connection.prepare("SELECT name,pk FROM pragma_table_info(?1)")?;
    rows.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
