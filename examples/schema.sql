-- The application's own tables. Those that warming reads have the indexes of docs/warming.md.
DROP TABLE IF EXISTS job_views, sessions, preferences, jobs, companies, users;
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, last_login timestamptz NOT NULL);
CREATE TABLE companies (id bigint PRIMARY KEY, domain text NOT NULL);
CREATE TABLE jobs (
    id bigint PRIMARY KEY,
    company_id bigint NOT NULL REFERENCES companies,
    title text NOT NULL,
    skills int[] NOT NULL,
    salary int NOT NULL
);
CREATE TABLE preferences (user_id bigint PRIMARY KEY REFERENCES users, data jsonb NOT NULL);
CREATE TABLE sessions (user_id bigint PRIMARY KEY REFERENCES users, token text NOT NULL, started_at timestamptz NOT NULL);
CREATE TABLE job_views (
    job_id bigint NOT NULL,
    user_id bigint NOT NULL,
    viewed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_last_login ON users (last_login, id);
CREATE INDEX job_views_viewed_at ON job_views (viewed_at, job_id);
