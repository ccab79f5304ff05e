"""Three small databases with rows that tell statements apart."""
# ruff: noqa: E501  # a row of a table stands on one line

CLINIC = """
CREATE TABLE doctor (doctor_id INTEGER PRIMARY KEY, name TEXT, specialty TEXT, age INTEGER, salary INTEGER);
CREATE TABLE patient (patient_id INTEGER PRIMARY KEY, first_name TEXT, last_name TEXT, gender TEXT, weight REAL,
  birth_date DATE, city TEXT);
CREATE TABLE visit (visit_id INTEGER PRIMARY KEY, patient_id INTEGER REFERENCES patient(patient_id),
  doctor_id INTEGER REFERENCES doctor(doctor_id), visit_date DATE, fee REAL, reason TEXT);
INSERT INTO doctor VALUES (1, 'Adler', 'cardiology', 61, 9000), (2, 'Brandt', 'surgery', 45, 8000),
  (3, 'Corvo', 'cardiology', 38, 7000), (4, 'Dahl', 'dermatology', 52, 6500), (5, 'Ek', 'surgery', 33, 6000);
INSERT INTO patient VALUES (1, 'Ann', 'Reed', 'F', 61.5, '1990-04-02', 'Oslo'), (2, 'Bob', 'Stone', 'M', 88, '1975-01-20', 'Bergen'),
  (3, 'Cay', 'Reed', 'F', 70, '2001-09-09', 'Oslo'), (4, 'Dan', 'Wood', 'M', 95.5, '1968-12-31', 'Tromso'),
  (5, 'Eva', 'Lund', 'F', 55, '1985-06-15', 'Bergen'), (6, 'Finn', 'Berg', 'M', 77, '1999-03-03', 'Oslo');
INSERT INTO visit VALUES (1, 1, 1, '2023-01-05', 120, 'checkup'), (2, 1, 2, '2023-02-11', 300, 'fracture'),
  (3, 2, 1, '2023-02-15', 80, 'checkup'), (4, 3, 4, '2023-03-01', 95, 'rash'), (5, 4, 3, '2022-11-30', 150, 'checkup'),
  (6, 4, 1, '2022-12-24', 410, 'fracture'), (7, 5, 4, '2023-03-20', 60, 'rash'), (8, 2, 1, '2023-04-02', 200, 'fracture');
"""

LIBRARY = """
CREATE TABLE author (author_id INTEGER PRIMARY KEY, name TEXT, country TEXT, birth_year INTEGER);
CREATE TABLE book (book_id INTEGER PRIMARY KEY, title TEXT, genre TEXT, pages INTEGER, price REAL,
  author_id INTEGER REFERENCES author(author_id), publication_year INTEGER);
CREATE TABLE reader (reader_id INTEGER PRIMARY KEY, name TEXT, email TEXT, joined_date DATE);
CREATE TABLE loan (loan_id INTEGER PRIMARY KEY, book_id INTEGER REFERENCES book(book_id),
  reader_id INTEGER REFERENCES reader(reader_id), loan_date DATE, status TEXT);
INSERT INTO author VALUES (1, 'Ines Moreau', 'France', 1950), (2, 'Karl Weber', 'Germany', 1962),
  (3, 'Lea Petit', 'France', 1971), (4, 'Mia Rossi', 'Italy', 1980);
INSERT INTO book VALUES (1, 'Tides', 'novel', 320, 12.5, 1, 1990), (2, 'Roots', 'history', 510, 30, 2, 2004),
  (3, 'Lights', 'novel', 210, 9.9, 1, 2010), (4, 'Bread', 'cooking', 150, 18, 3, 2015),
  (5, 'Stones', 'history', 430, 25, 2, 2010), (6, 'Winds', 'novel', 280, 11, 3, 2019);
INSERT INTO reader VALUES (1, 'Otto', 'otto@mail.example', '2020-01-10'), (2, 'Pia', 'pia@mail.example', '2021-05-05'),
  (3, 'Quin', 'quin@post.example', '2022-07-19'), (4, 'Rosa', 'rosa@post.example', '2023-02-02');
INSERT INTO loan VALUES (1, 1, 1, '2023-01-02', 'returned'), (2, 2, 1, '2023-02-03', 'open'), (3, 1, 2, '2023-02-10', 'returned'),
  (4, 3, 2, '2023-03-01', 'open'), (5, 5, 3, '2023-03-15', 'returned'), (6, 1, 3, '2023-05-01', 'open'), (7, 6, 1, '2023-05-02', 'open');
"""

BICYCLES = """
CREATE TABLE brand (brand_id INTEGER PRIMARY KEY, brand_name TEXT, founded_year INTEGER);
CREATE TABLE bicycle (bicycle_id INTEGER PRIMARY KEY, model TEXT, brand_id INTEGER REFERENCES brand(brand_id), color TEXT,
  price REAL, weight REAL, stock INTEGER);
CREATE TABLE customer (customer_id INTEGER PRIMARY KEY, name TEXT, town TEXT, phone TEXT);
CREATE TABLE sale (sale_id INTEGER PRIMARY KEY, bicycle_id INTEGER REFERENCES bicycle(bicycle_id),
  customer_id INTEGER REFERENCES customer(customer_id), sale_date DATE, quantity INTEGER, amount REAL);
INSERT INTO brand VALUES (1, 'Falk', 1921), (2, 'Rovo', 1988), (3, 'Zephyr', 2005), (4, 'Unsold', 2020);
INSERT INTO bicycle VALUES (1, 'City 1', 1, 'red', 500, 14.5, 10), (2, 'City 2', 1, 'blue', 650, 13, 4), (3, 'Peak', 2, 'black', 1800, 11.2, 2),
  (4, 'Dart', 3, 'red', 2400, 8.1, 1), (5, 'Kid', 2, 'blue', 220, 9.5, 20), (6, 'Cargo', 3, 'black', 3200, 31, 0);
INSERT INTO customer VALUES (1, 'Alma', 'Linz', '555-01'), (2, 'Bela', 'Graz', '555-02'), (3, 'Cora', 'Linz', '555-03'), (4, 'Dino', 'Wels', '555-04');
INSERT INTO sale VALUES (1, 1, 1, '2024-01-04', 1, 500), (2, 3, 1, '2024-02-06', 1, 1800), (3, 5, 2, '2024-02-09', 2, 440),
  (4, 4, 2, '2024-03-11', 1, 2400), (5, 1, 3, '2024-04-01', 3, 1500), (6, 5, 3, '2023-12-20', 1, 220), (7, 2, 1, '2023-11-11', 1, 650);
"""

DATABASES = {"clinic": CLINIC, "library": LIBRARY, "bicycles": BICYCLES}
