SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;


CREATE TABLE public.old_chats (
    id integer NOT NULL,
    session_id uuid NOT NULL,
    message jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);



CREATE SEQUENCE public.old_chats_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;



ALTER SEQUENCE public.old_chats_id_seq OWNED BY public.old_chats.id;



ALTER TABLE ONLY public.old_chats ALTER COLUMN id SET DEFAULT nextval('public.old_chats_id_seq'::regclass);



INSERT INTO public.old_chats VALUES (1, '00000000-0000-0000-0000-000000000007', '{"data": {"id": "m0", "name": null, "type": "system", "content": "Be brief.", "additional_kwargs": {}, "response_metadata": {}}, "type": "system"}', '2026-11-29 23:22:35.423629+00');
INSERT INTO public.old_chats VALUES (2, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": "alice", "type": "human", "content": "What is this? 🐈", "example": true, "additional_kwargs": {}, "response_metadata": {}}, "type": "human"}', '2026-11-29 23:22:35.423629+00');
INSERT INTO public.old_chats VALUES (3, '00000000-0000-0000-0000-000000000007', '{"data": {"id": "m2", "name": null, "type": "human", "content": ["Look:", {"url": "https://example.com/cat.png", "type": "image"}], "additional_kwargs": {}, "response_metadata": {}}, "type": "human"}', '2026-11-29 23:22:35.423629+00');
INSERT INTO public.old_chats VALUES (4, '00000000-0000-0000-0000-000000000007', '{"data": {"id": "m3", "name": null, "type": "ai", "content": "Let me look.", "tool_calls": [{"id": "c1", "args": {"at": [1, 2.5, null]}, "name": "look", "type": "tool_call"}, {"id": null, "args": {}, "name": "ask", "type": "tool_call"}], "usage_metadata": {"input_tokens": 3, "total_tokens": 7, "output_tokens": 4}, "additional_kwargs": {"refusal": null}, "response_metadata": {"model_name": "gpt"}, "invalid_tool_calls": [{"id": "c2", "args": "{", "name": "x", "type": "invalid_tool_call", "error": "no JSON"}]}, "type": "ai"}', '2026-11-29 23:22:35.423629+00');
INSERT INTO public.old_chats VALUES (5, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": "look", "type": "tool", "status": "error", "content": "A cat.", "artifact": {"ears": 2}, "tool_call_id": "c1", "additional_kwargs": {}, "response_metadata": {}}, "type": "tool"}', '2026-11-29 23:22:35.423629+00');
INSERT INTO public.old_chats VALUES (6, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": "f", "type": "function", "content": "old", "additional_kwargs": {}, "response_metadata": {}}, "type": "function"}', '2026-11-29 23:22:35.423629+00');
INSERT INTO public.old_chats VALUES (7, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": null, "role": "critic", "type": "chat", "content": "hm", "additional_kwargs": {}, "response_metadata": {}}, "type": "chat"}', '2026-11-29 23:22:35.423629+00');
INSERT INTO public.old_chats VALUES (8, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": null, "role": "ai", "type": "chat", "content": "hm", "additional_kwargs": {}, "response_metadata": {}}, "type": "chat"}', '2026-11-29 23:22:35.423629+00');
INSERT INTO public.old_chats VALUES (9, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": null, "type": "ai", "content": [{"type": "reasoning", "reasoning": "Hm."}, {"text": "A cat.", "type": "text"}], "tool_calls": [], "usage_metadata": null, "additional_kwargs": {}, "response_metadata": {}, "invalid_tool_calls": []}, "type": "ai"}', '2026-11-29 23:22:35.423629+00');



SELECT pg_catalog.setval('public.old_chats_id_seq', 9, true);



ALTER TABLE ONLY public.old_chats
    ADD CONSTRAINT old_chats_pkey PRIMARY KEY (id);



CREATE INDEX idx_old_chats_session_id ON public.old_chats USING btree (session_id);
